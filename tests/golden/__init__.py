"""What MediaPipe 0.10.21 found in frames made from the astronaut picture, and how it was recorded."""

from pathlib import Path

GOLDEN = Path(__file__).with_name("astronaut_holistic.npz")
# The same with the lite and the heavy pose network, and 468 face points.
GOLDEN_COMPLEXITY = GOLDEN.with_name("astronaut_complexity.npz")
# The parts that are the same whatever the number of face points.
PARTS = ("pose", "pose_world", "left_hand", "right_hand")
