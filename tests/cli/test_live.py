"""What a log hears of a batch while it is in progress."""

from steelyard.cli.live import BatchLines
from steelyard.engine.progress import Progress
from steelyard.providers.batches import Progress as Told


def test_a_log_hears_of_a_batch_when_it_changes_notably_and_not_else():
    lines, batch = BatchLines(), Progress().begin_batch("m", 1000)
    said = [lines.line(batch)]
    batch.begun()
    said.append(lines.line(batch))
    for answered, failed in ((0, 0), (0, 0), (40, 0), (90, 0), (340, 12), (341, 12), (988, 12)):
        batch.look(Told(is_over=False, answered=answered, failed=failed))
        said.append(lines.line(batch))
    assert said == [
        "m  batch 1: handing in 1,000 requests",
        "m  batch 1: 1,000 requests at the service",
        "m  batch 1: 0 of 1,000 answered",
        None,
        "m  batch 1: 40 of 1,000 answered",
        None,
        "m  batch 1: 340 of 1,000 answered, 12 failed",
        None,
        "m  batch 1: 988 of 1,000 answered, 12 failed",
    ]
