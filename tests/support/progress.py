"""The progress of a run that begins, of one before its first lap, and of one at half time."""

from training.run.progress_display import AgentProgress, Progress

NAN = float("nan")
HALF = Progress(
    step=150_000,
    total_steps=300_000,
    elapsed_s=60.0,
    limit_s=240.0,
    steps_per_s=2500.0,
    checkpoint_step=100_000,
    checkpoint_age_s=12.0,
    agents=(AgentProgress(58.34, 1212, 14.213, 0.043, 210.4, 1.753, "58/60 laps, 4.3 m/s at step 41,000"),),
)
NO_EPISODE = AgentProgress(NAN, 0, NAN, NAN, NAN, NAN, "none yet")
BEGIN = Progress(0, 300_000, 0.0, None, 0.0, None, 0.0, (NO_EPISODE,))
EARLY = HALF._replace(
    step=9_920,
    elapsed_s=10.0,
    agents=(AgentProgress(6.9, 0, NAN, 1.0, 12.3, 0.1027, "none yet"),),
)
