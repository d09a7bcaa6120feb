"""From a trained network and a stack to a denoised one: tiles, devices, streams."""
