"""``python -m edgenode.lifeline --config FILE``"""

from edgenode.lifeline.hold import main

if __name__ == "__main__":
    raise SystemExit(main())
