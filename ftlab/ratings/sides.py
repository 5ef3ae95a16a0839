"""What is left to chance, decided by a keyed hash: no seeding elsewhere can fix it, no clock can shift it."""

import hmac


def order(seed: str, task_id: str, rater_id: str, repeat_no: int, count: int) -> list[int]:
    """Slots in the order shown, left first; the same for the same arguments, for ever.

    Two answers: swapped where the last bit of HMAC-SHA256(seed, task|rater|repeat) is set (R1). More: sorted
    by such a hash for each slot. An odd `repeat_no` is the order before it reversed: asked again, the sides
    are swapped (R5).
    """
    if repeat_no % 2:
        return order(seed, task_id, rater_id, repeat_no - 1, count)[::-1]
    message = f"{task_id}|{rater_id}|{repeat_no}"
    if count == 2:
        return [1, 0] if _keyed(seed, message)[-1] & 1 else [0, 1]
    return sorted(range(count), key=lambda slot: _keyed(seed, f"{message}|{slot}"))


def chance(seed: str, *about: str | int) -> float:
    """A number in [0, 1) that depends on the key and on what it is about, and on nothing else."""
    return int.from_bytes(_keyed(seed, "|".join(map(str, about)))[:7]) / 2**56


def pick(seed: str, count: int, *about: str | int) -> int:
    """One of 0 to count - 1, each as likely (the bias is under 1 in 2**40 for a million)."""
    return int.from_bytes(_keyed(seed, "|".join(map(str, about)))[:8]) % count


def _keyed(seed: str, message: str) -> bytes:
    return hmac.digest(seed.encode(), message.encode(), "sha256")
