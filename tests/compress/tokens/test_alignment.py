import numpy as np

from pipeline.compress.tokens.alignment import align

# The text "abcdef": the teacher's tokens are ab, cd, ef; the student's are a, b, cdef and its own start token 0.
_TEACHER_BYTES = np.array([0, 2, 2, 2])
_STUDENT_BYTES = np.array([0, 1, 1, 4])


def _aligned(teacher: list[int]) -> tuple[list[int], list[int]]:
    student = np.array([0, 1, 2, 3], np.int32)
    found = align(np.array(teacher, np.int32), student, _TEACHER_BYTES, _STUDENT_BYTES)
    return found.rows.tolist(), found.places.tolist()


def test_positions_in_front_of_the_same_byte_are_paired() -> None:
    # Both start at byte 0, and "cd" starts where "cdef" does.
    assert _aligned([0, 1, 2, 3]) == ([0, 1], [0, 2])


def test_a_text_whose_end_the_teacher_has_not_read_is_paired_up_to_there() -> None:
    assert _aligned([0, 1]) == ([0], [0])
