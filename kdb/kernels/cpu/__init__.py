"""The backend of the CPU: numpy, and torch's convolution as a competitor."""
