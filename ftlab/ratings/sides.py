"""Which answer is shown on which side: decided by a keyed hash, so that no seeding elsewhere can fix it."""

import hmac


def order(seed: str, task_id: str, rater_id: str, repeat_no: int, count: int) -> list[int]:
    """Slots in the order shown, left first; the same for the same arguments, for ever.

    Two answers: swapped where the last bit of HMAC-SHA256(seed, task|rater|repeat) is set (R1). More: sorted
    by such a hash for each slot.
    """
    message = f"{task_id}|{rater_id}|{repeat_no}"
    if count == 2:
        return [1, 0] if _keyed(seed, message)[-1] & 1 else [0, 1]
    return sorted(range(count), key=lambda slot: _keyed(seed, f"{message}|{slot}"))


def _keyed(seed: str, message: str) -> bytes:
    return hmac.digest(seed.encode(), message.encode(), "sha256")
