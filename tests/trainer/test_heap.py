"""Freed memory stays in the process that asked for it, until it is given back."""

import subprocess
import sys

PROGRAM = """
import resource
from rewriter_trainer.heap import give_freed_memory_back, keep_freed_memory
if {keep}:
    assert keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = bytearray(b"x") * (64 << 20)
    del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
if {give_back}:
    give_freed_memory_back()
print(faults())
"""
MANY = 1000


def faults_of_a_block_taken_again(keep: bool, give_back: bool) -> int:
    program = [sys.executable, "-c", PROGRAM.format(keep=keep, give_back=give_back)]
    return int(subprocess.run(program, check=True, capture_output=True, text=True).stdout)


def test_memory_that_was_freed_is_taken_again_without_page_faults() -> None:
    assert faults_of_a_block_taken_again(keep=True, give_back=False) < MANY
    assert faults_of_a_block_taken_again(keep=False, give_back=False) > MANY


def test_memory_that_was_kept_can_be_given_back() -> None:
    assert faults_of_a_block_taken_again(keep=True, give_back=True) > MANY
