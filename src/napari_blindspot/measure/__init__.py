"""What is measured of a stack before training: scale, noise, camera, planes."""
