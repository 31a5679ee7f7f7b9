"""Freed memory stays in the process that asked for it."""

import subprocess
import sys

PROGRAM = """
import resource
from rewriter_trainer.heap import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = bytearray(b"x") * (256 << 20)
    del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults_of_a_block_taken_again(keep: bool) -> int:
    program = [sys.executable, "-c", PROGRAM.format(keep=keep)]
    return int(subprocess.run(program, check=True, capture_output=True, text=True).stdout)


def test_memory_that_was_freed_is_taken_again_without_page_faults() -> None:
    assert faults_of_a_block_taken_again(keep=True) < 1000 < faults_of_a_block_taken_again(keep=False)
