"""All benchmarks, one after the other: each prints its ratio, or its figures, and what was expected of them.

    python bench/run.py

About half an hour on two idle cores. Ends non-zero if any falls short.
"""

import subprocess
import sys
from pathlib import Path

RUNS = (
    ("consumer.py", "motor"),
    ("dispatch.py", "motor"),
    ("push.py", "motor"),
    ("push.py", "pymongo"),
    ("command.py", "motor"),
    ("command.py", "pymongo"),
    ("ticket_sale.py", "motor"),
    ("minutes_back.py", "motor"),
    ("watch.py", "motor"),
    ("lists.py", "motor"),
    ("hog.py", "motor"),
    ("rtc_stop.py", "motor"),
    ("checkout.py", "motor"),
)

if __name__ == "__main__":
    here = Path(__file__).parent
    short = []
    for script, driver in RUNS:
        print(f"== {script} {driver}", flush=True)
        if subprocess.run([sys.executable, here / script, driver], check=False).returncode:
            short.append(f"{script} {driver}")
    sys.exit(f"fell short: {', '.join(short)}" if short else 0)
