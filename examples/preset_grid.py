"""Can a preset end below weighted cross entropy? Run as `python -m examples.preset_grid`; see `examples.study.grid`."""

from examples.study.grid import main

if __name__ == "__main__":
    main()
