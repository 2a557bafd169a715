"""The machine that a run uses: device, processes, signals and memory."""
