"""From the CPU's plan to a Python module: one function per stage, NumPy alone."""
