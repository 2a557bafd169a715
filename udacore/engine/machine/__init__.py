"""The machine: device, processes, signals and memory."""
