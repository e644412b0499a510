"""Things to do: each makes its gold calls and gives the words that ask for it, a command without a full stop.

Acts in `ASKABLE` take `ask=True`: their words leave out a value that only the user knows, the scripted user gives it
when asked, and the calls that need it come after that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tir_gym.envs.assistant.acts.account import change_address, change_password, change_phone
from tir_gym.envs.assistant.acts.calendar import (
    call_off,
    cancel,
    create_event,
    create_meeting,
    follow_up,
    invite,
    relocate,
    relocate_like,
    reschedule,
)
from tir_gym.envs.assistant.acts.messages import (
    forward_mail,
    mail_attendees,
    mail_people,
    pass_on,
    pass_on_by_mail,
    text_attendees,
    text_person,
    text_receiver_unknown,
)
from tir_gym.envs.assistant.acts.reminders import (
    add_alarm,
    add_reminder,
    add_timed_reminder,
    clear_alarms,
    complete_reminder,
    delete_alarm,
    delete_reminder,
    move_alarm,
    remind_of_event,
    remind_of_item,
    replace_reminder,
)
from tir_gym.envs.assistant.acts.trail import trail
from tir_gym.envs.assistant.draft import Draft

Act: TypeAlias = Callable[[Draft], str]

ACTS: tuple[Act, ...] = (
    *(text_person, mail_people, forward_mail, pass_on, pass_on_by_mail, text_attendees, mail_attendees, trail, trail),
    *(create_meeting, create_event, follow_up, reschedule, relocate, relocate_like, invite, cancel, call_off),
    *(add_reminder, add_timed_reminder, remind_of_item, remind_of_event),
    *(complete_reminder, delete_reminder, replace_reminder),
    *(add_alarm, delete_alarm, move_alarm, clear_alarms),
    *(change_password, change_phone, change_address),
)
"""What can be asked for; the long ones twice."""

FRESH_ACTS: tuple[Act, ...] = (text_person, mail_people, create_meeting, create_event, add_reminder, add_alarm)
"""What a user can ask for who has nothing yet."""

ASKABLE: tuple[Callable[[Draft, bool], str], ...] = (
    *(text_person, text_receiver_unknown, mail_people, create_meeting, reschedule, relocate),
    *(add_reminder, add_alarm, change_phone),
)
"""What can be asked for with a value left out."""
