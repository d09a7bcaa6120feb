"""Stacks of any size through a network: planned, streamed, resumed, shared out."""
