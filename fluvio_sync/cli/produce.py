# SPDX-License-Identifier: Apache-2.0
"""`fluvio-sync produce`: its options are those of Fluvio's own command line and some more."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

from fluvio_sync._settings.checks import choice
from fluvio_sync._settings.environment import client_settings
from fluvio_sync._settings.topic_name import check_topic_name
from fluvio_sync.cli.exit_status import FAILED, OK, USAGE, status_of, statuses
from fluvio_sync.cli.input import Chunks, Lines, Whole, open_input
from fluvio_sync.cli.options import add_cluster, connect_settings
from fluvio_sync.cli.progress import Progress
from fluvio_sync.cli.run import ProduceRun
from fluvio_sync.cli.values import duration, named, positive_duration, whole
from fluvio_sync.client import Fluvio
from fluvio_sync.config import LARGEST_BATCH, Compression, ProducerConfig, SmartModule
from fluvio_sync.delivery import AtLeastOnce, AtMostOnce, Isolation, delivery_semantic
from fluvio_sync.errors import ConfigError, TopicNotFoundError
from fluvio_sync.partitioner import SpecificPartitioner
from fluvio_sync.retry import RetryPolicy

if TYPE_CHECKING:
    from fluvio_sync.cli.options import Commands
    from fluvio_sync.cli.screen import Screen
    from fluvio_sync.producer import TopicProducer

_TOPIC_TIMEOUT = 3.0  # seconds: enough for a topic that was just created, and short for a name that is mistyped
_BATCH_SIZE = 16_384
_MAX_REQUEST_SIZE = 1_048_576
_USUAL_MEMORY = 32 * 1024 * 1024

_DESCRIPTION = """\
Produce each line of the input as a record.

The line feed is left out. An empty line is a record, and a line may hold any bytes. Lines are sent while more are read.
Ctrl-C sends the lines that were read and ends; a second Ctrl-C drops them.
On a terminal each line is answered with "Ok!" once the cluster has stored it; Ctrl-D ends the input."""

_EPILOG = f"""\
examples:
  fluvio-sync produce orders < lines.txt
  echo 'user-7:signed up' | fluvio-sync produce events --key-separator :
  fluvio-sync produce photos --key 42 --raw --file 42.jpeg
  tail -F access.log | fluvio-sync produce logs --linger 20ms --compression gzip --json

A TIME is a number with a unit, or several (20ms, 1.5s, '1m 30s'), or plain seconds.

{statuses("a record failed, a line was skipped, or the cluster could not be used")}"""

_OFFICIAL_ALONE = {
    ("--smartmodule-path", "--sm_path"): (
        "is not supported: a SmartModule has to be in the cluster. Load it once "
        "(fluvio smartmodule create NAME --wasm-file FILE), then use --smartmodule NAME"
    ),
    ("--aggregate-initial", "--a-init"): (
        "is not supported: a producer's SmartModule has no accumulator. Aggregate where the records are consumed"
    ),
    ("-t", "--transforms", "--transforms-file", "--transforms-line", "--transform"): (
        "is not supported: only one SmartModule can be run. Use --smartmodule NAME -e KEY=VALUE, or transform the "
        "lines before they are piped in"
    ),
    ("-m", "--mirror"): ("is not supported: mirrors are not looked up. Name the mirror's partition with --partition N"),
    ("--stats", "--stats-plus", "--stats-path", "--no-stats-bar", "--stats-summary"): (
        "is gone, as in Fluvio's own command line since 0.11: a terminal shows the progress, and --json prints the "
        "outcome of each record"
    ),
}

# The options that are settings of `RetryPolicy`, by its names.
_RETRY = {
    "max_retries": "retries",
    "strategy": "retry_strategy",
    "initial_delay": "retry_initial",
    "max_delay": "retry_max_delay",
    "timeout": "delivery_timeout",
}


def add_produce(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "produce",
        usage="fluvio-sync produce TOPIC [OPTION...]",
        help="produce the lines of a file or of standard input",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.set_defaults(run=produce)
    parser.add_argument("topic", metavar="TOPIC", help="the topic; it has to exist")
    _add_records(parser.add_argument_group("records"))
    _add_batches(parser.add_argument_group("batches"))
    _add_delivery(parser.add_argument_group("delivery"))
    _add_output(parser.add_argument_group("output"))
    add_cluster(parser)
    for names, why in _OFFICIAL_ALONE.items():
        parser.add_argument(*names, action=_Unsupported, nargs="?", const=why, help=argparse.SUPPRESS)


class _Unsupported(argparse.Action):
    """An option that only Fluvio's own command line has; `const`: why, and the way to do the same here."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        _namespace: argparse.Namespace,
        _values: object,
        option_string: str | None = None,
    ) -> None:
        parser.error(f"{option_string} {self.const}")


def _add_records(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-f", "--file", metavar="FILE", help="read this file (default: standard input)")
    group.add_argument("--raw", action="store_true", help="send the whole input as one record")
    keys = group.add_mutually_exclusive_group()
    keys.add_argument("--key", metavar="KEY", type=os.fsencode, help="the key of every record")
    keys.add_argument(
        "--key-separator",
        metavar="SEP",
        type=_separator,
        help="each line is a key, SEP and a value; a line without SEP is skipped and counted",
    )
    partition = whole(0, 0xFFFFFFFF, "a partition's number")
    group.add_argument("-p", "--partition", metavar="N", type=partition, help="send every record to this partition")
    group.add_argument(
        "--smartmodule", "--sm", metavar="NAME", help="have the cluster run this SmartModule on the records"
    )
    group.add_argument(
        "-e",
        "--params",
        metavar="KEY=VALUE",
        type=_parameter,
        action="append",
        default=[],
        help="a parameter for the SmartModule; may be repeated",
    )


def _add_batches(group: argparse._ArgumentGroup) -> None:
    size = whole(1, LARGEST_BATCH, "a number of bytes")
    group.add_argument("--linger", metavar="TIME", type=duration, help="wait for more records (default: 0ms)")
    group.add_argument("--batch-size", metavar="BYTES", type=size, help="send a batch at this size (default: 16384)")
    group.add_argument(
        "--max-request-size", metavar="BYTES", type=size, help="the limit of a record's batch (default: 1048576)"
    )
    group.add_argument(
        "--compression",
        **named([codec.value for codec in Compression], lambda text: choice(Compression, "compression", text)),
        help="the codec (default: the topic's)",
    )
    group.add_argument(
        "--compression-level",
        metavar="N",
        type=whole(0, 22),
        help="gzip: 0 to 9, lz4: 0 to 12, zstd: 1 to 22 (default: the codec's own)",
    )


def _add_delivery(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--delivery-semantic",
        **named(["at-least-once", "at-most-once"], delivery_semantic),
        help="at-least-once (default): retry until it is acknowledged; at-most-once: send it once, unacknowledged",
    )
    group.add_argument(
        "--isolation",
        **named([level.value for level in Isolation], lambda text: choice(Isolation, "isolation", text)),
        help="a record is acknowledged once its leader has stored it (default), or once its replicas have as well",
    )
    group.add_argument(
        "--retries",
        metavar="N",
        type=_retries,
        help="attempts after the first: a number, or 'unlimited' (default): as many as --delivery-timeout allows",
    )
    group.add_argument(
        "--retry-strategy",
        **named(["exponential", "fibonacci", "constant"], lambda text: RetryPolicy(strategy=text).strategy),
        help="how the delays between attempts grow (default: exponential, tenfold)",
    )
    group.add_argument("--retry-initial", metavar="TIME", type=duration, help="the first delay (default: 20ms)")
    group.add_argument("--retry-max-delay", metavar="TIME", type=duration, help="the longest delay (default: 10s)")
    group.add_argument(
        "--delivery-timeout",
        metavar="TIME",
        type=positive_duration,
        help="how long to try: a record that is not acknowledged within this time fails (default: 300s)",
    )
    group.add_argument(
        "--no-verify-retries",
        action="store_true",
        help="send a record that may be stored again at once, without looking for it in the log",
    )


def _add_output(group: argparse._ArgumentGroup) -> None:
    choices = group.add_mutually_exclusive_group()
    choices.add_argument("--json", action="store_true", help="print the outcome of each record as a line of JSON")
    choices.add_argument(
        "-v", "--verbose", action="store_true", help="with --key-separator: print each record as '[key] value'"
    )


def _separator(text: str) -> bytes:
    if not text:
        raise argparse.ArgumentTypeError("it must be non-empty")
    return os.fsencode(text)


def _retries(text: str) -> int | str:
    return text if text == "unlimited" else whole(0, 0x7FFFFFFF, "'unlimited' or a number")(text)


def _parameter(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def producer_config(options: argparse.Namespace) -> ProducerConfig:
    """Return the producer's settings.

    Raises `ConfigError` for options that exclude each other, and for one that needs another.
    """
    if options.raw and options.key_separator is not None:
        raise ConfigError("--raw and --key-separator exclude each other: the input is not split into lines; use --key")
    if options.params and options.smartmodule is None:
        raise ConfigError("-e/--params has no effect without --smartmodule NAME")
    if options.compression_level is not None and options.compression is None:
        raise ConfigError("--compression-level needs --compression: levels differ between codecs")
    names = ("linger", "batch_size", "max_request_size", "compression", "compression_level", "isolation")
    settings: dict[str, Any] = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    settings["delivery_semantic"] = _delivery(options)
    largest = options.max_request_size or _MAX_REQUEST_SIZE
    if options.batch_size is None:
        settings["batch_size"] = min(_BATCH_SIZE, largest)
    elif options.batch_size > largest:
        raise ConfigError(f"--batch-size {options.batch_size} is more than --max-request-size {largest}: raise that")
    if options.partition is not None:
        settings["partitioner"] = SpecificPartitioner(options.partition)
    if options.smartmodule is not None:
        settings["smartmodules"] = [SmartModule(options.smartmodule, dict(options.params))]
    # While memory is full, reading waits: the pipe holds the data back.  The records' deadlines end the wait.
    settings |= {"max_block": 1e6, "verify_retries": not options.no_verify_retries}
    return ProducerConfig.from_settings(None, settings)


def _delivery(options: argparse.Namespace) -> AtLeastOnce | AtMostOnce:
    given = {name: value for name, key in _RETRY.items() if (value := getattr(options, key)) is not None}
    semantic = delivery_semantic(options.delivery_semantic or AtLeastOnce)
    if isinstance(semantic, AtMostOnce):
        useless = [_RETRY[name] for name in given] + ["no_verify_retries"] * options.no_verify_retries
        if useless:
            option = "--" + useless[0].replace("_", "-")
            raise ConfigError(f"{option} has no effect with --delivery-semantic at-most-once: records are not retried")
        return semantic
    if given.get("max_retries") == "unlimited":
        given["max_retries"] = None
    return AtLeastOnce(RetryPolicy(**given))


def _client_settings(options: argparse.Namespace, config: ProducerConfig) -> dict[str, Any]:
    settings = connect_settings(options)
    given = client_settings(os.environ)
    if "metadata_timeout" not in given:
        settings["metadata_timeout"] = _TOPIC_TIMEOUT
    if "buffer_memory" not in given:
        settings["buffer_memory"] = max(_USUAL_MEMORY, 4 * config.max_request_size)
    return settings


def produce(options: argparse.Namespace, screen: Screen) -> int:
    """Produce the lines of a file or of standard input."""
    check_topic_name(options.topic)
    config = producer_config(options)
    settings = _client_settings(options, config)
    if (options.json or options.verbose) and sys.stdout is None:
        raise ConfigError("standard output is closed, but --json and --verbose write to it")
    if options.verbose and options.key_separator is None:
        screen.say("--verbose prints records only with --key-separator")
    try:
        chunks = Chunks(open_input(options.file))
    except OSError as error:
        screen.say(f"cannot read {options.file or 'standard input'}: {error.strerror}")
        return USAGE
    typed = options.file is None and sys.stdin.isatty()
    records = (Whole if options.raw else Lines)(chunks, config.max_request_size)
    client = Fluvio.connect(**settings)
    try:
        run = ProduceRun(_producer(client, options.topic, config), options, screen, asks=typed and not options.raw)
        shown = _shows_progress(options, typed=typed)
        try:
            with Progress(screen, chunks, run.progress) if shown else contextlib.nullcontext():
                stop = run.produce(records)
                run.wait()
            client.close()  # tells what is stored twice, for the summary
        except KeyboardInterrupt as again:
            stop = again
            client.close(0)
        result = run.end()
    finally:
        client.close()  # not `with`, which would raise the first failure: the run has reported all of them
    if stop is not None:
        return status_of(stop)
    return FAILED if result.failed or run.skipped or run.io_failed else OK


def _producer(client: Fluvio, topic: str, config: ProducerConfig) -> TopicProducer:
    try:
        return client.topic_producer(topic, config)
    except TopicNotFoundError as error:
        text = f"the cluster at {client.endpoint} has no topic {topic!r}; create it: fluvio-sync topics create {topic}"
        raise TopicNotFoundError(text, topic=topic) from error


def _shows_progress(options: argparse.Namespace, *, typed: bool) -> bool:
    """Return whether standard error is a terminal on which a person neither types lines nor reads records."""
    if sys.stderr is None or not sys.stderr.isatty():
        return False
    return not typed and not ((options.json or options.verbose) and sys.stdout.isatty())
