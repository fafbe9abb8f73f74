"""Appointments of a practice. A real one would ask its calendar."""

from typing import Literal

Department = Literal["cardiology", "dermatology", "general"]
_FREE = {"cardiology": ["09:30", "14:00"], "dermatology": [], "general": ["08:00", "11:15", "16:45"]}


def check_appointment_availability(department: Department, date: str) -> dict[str, object]:
    """Tells which appointments are free on a day.

    Args:
        department: Where.
        date: The day, as 2026-11-24.
    """
    return {"department": department, "date": date, "free": _FREE[department]}


def book_appointment(patient_id: str, department: Department, date: str, time: str) -> dict[str, str]:
    """Makes an appointment. A person allows it first.

    Args:
        patient_id: The patient's number, such as P-1007.
        department: Where.
        date: The day, as 2026-11-24.
        time: One of the free times, as 09:30.
    """
    if time not in _FREE[department]:
        raise ValueError(f"{time} is not free in {department}; these are: {', '.join(_FREE[department]) or 'none'}")
    return {"appointment": f"{department}-{date}-{time}", "patient": patient_id}
