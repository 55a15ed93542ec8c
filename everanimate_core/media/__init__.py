"""Frames and sound in and out of files, never a whole video in memory."""
