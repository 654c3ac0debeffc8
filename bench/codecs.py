# SPDX-License-Identifier: Apache-2.0
"""What compression costs and saves: `python bench/codecs.py [FILE]`, by default with events as JSON.

For each codec: how many times smaller a batch gets, and the CPU that this takes a record.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

from fluvio_sync.protocol.batch import BatchBuilder
from fluvio_sync.protocol.compression import Codec, compressor

BATCH_SIZES = (16_384, 262_144)
REPEATS = 20


def events() -> list[bytes]:
    """Return events like those of a web shop, about 200 bytes each."""
    draw = random.Random(1)
    return [
        json.dumps(
            {
                "event": draw.choice(["view", "click", "basket", "order"]),
                "user": draw.getrandbits(48),
                "path": f"/products/{draw.randrange(5000)}",
                "at": 1_760_000_000_000 + number * 37,
                "agent": draw.choice(["Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0)"]),
                "price": round(draw.random() * 100, 2),
            }
        ).encode()
        for number in range(3000)
    ]


def main() -> None:
    """Measure and print."""
    records = Path(sys.argv[1]).read_bytes().splitlines() if sys.argv[1:] else events()
    for batch_size in BATCH_SIZES:
        builder = BatchBuilder(0)
        for record in records:
            if not builder.append(None, record, 0, batch_size):
                break
        print(f"batch_size {batch_size}: {builder.count} records of {builder.payload // builder.count} B")
        for codec in Codec:
            compress = None if codec is Codec.NONE else compressor(codec, None)
            began = time.process_time()
            for _ in range(REPEATS):
                size = sum(map(len, builder.build(codec, compress)))
            each = (time.process_time() - began) / int(REPEATS * builder.count) * 1e6
            print(f"  {codec.name.lower():<8}{builder.size / size:>6.1f} times smaller{each:>8.2f} us a record")


if __name__ == "__main__":
    main()
