"""Pose, face, background and mask videos from any video of a person, and its keypoints."""
