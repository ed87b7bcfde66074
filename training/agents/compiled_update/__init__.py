"""The SAC update of `training.agents.update` as one compiled function for the processor, in float32.

tile      one tile of a matrix product, held in registers
products  packing, and products of matrices tile by tile
layout    the memory layout of all numbers of an update
layers    operations on a layer: forward, backward, weight gradient, Adam, Polyak
phases    the update itself: five phases, two tasks an agent in each
step      binds a SacUpdate's tensors to it
"""
