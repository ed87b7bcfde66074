# What `make ami-rehearsal` sets to bake a container instead of an instance, against an emulator of EC2.
# On AWS all of these keep their defaults.

variable "rehearsal_endpoint" {
  description = "Address of the EC2 emulator; empty on AWS."
  type        = string
  default     = ""
}

variable "rehearsal_ssh_host" {
  description = "Address of the container that stands in for the builder; empty on AWS."
  type        = string
  default     = ""
}

variable "rehearsal_ssh_port" {
  description = "SSH port of the builder."
  type        = number
  default     = 22
}

variable "rehearsal_ssh_private_key_file" {
  description = "Key that opens the container; empty on AWS, where a temporary key pair is made."
  type        = string
  default     = ""
}

locals {
  rehearsal = var.rehearsal_endpoint != ""
}
