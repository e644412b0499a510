"""Sending messages and mail: written, forwarded, or with a fact in them that must be found first."""

from __future__ import annotations

from tir_gym.envs.assistant.draft import Draft
from tir_gym.envs.assistant.finders import Person, some_event, some_mail, someone
from tir_gym.envs.assistant.items import text_item
from tir_gym.envs.writing.draft import quote
from tir_gym.envs.writing.speech import say_list


def text_person(d: Draft, ask: bool = False) -> str:
    person, text = someone(d), d.say("a_note", topic=d.new_topic())
    receiver = person.tell(d, "username")
    words = d.say("text_person_ask" if ask else "text_person", person=person.words, text=quote(text))
    if ask:
        d.ask(
            "message",
            ("message", "text", "say", "tell", "write", "content", "wording"),
            d.say("reply_text", text=quote(text)),
        )
    d.call("SendMessage", receiver=receiver, message=text)
    return words


def text_receiver_unknown(d: Draft, ask: bool = True) -> str:
    text, username = d.say("a_note", topic=d.new_topic()), d.pick(d.others())
    words = d.say("text_nobody_ask", text=quote(text))
    d.ask(
        "receiver",
        ("receiver", "recipient", "who", "to?", "username", "person", "contact"),
        d.say("reply_receiver", username=username),
    )
    d.call("SendMessage", receiver=username, message=text)
    return words


def mail_people(d: Draft, ask: bool = False) -> str:
    people: list[Person] = []
    for _ in range(d.rng.choice((1, 1, 2, 3))):
        people.append(someone(d, besides=[person.username for person in people]))
    topic = d.new_topic()
    subject, body = d.say("a_subject", topic=topic), d.say("a_note", topic=topic)
    addresses = [person.tell(d, "email") for person in people]
    words = d.say(
        "mail_people_ask" if ask else "mail_people",
        people=say_list([person.words for person in people]),
        subject=quote(subject),
        body=quote(body),
    )
    if ask:
        d.ask(
            "text",
            ("text", "body", "say", "tell", "write", "content", "message", "wording"),
            d.say("reply_text", text=quote(body)),
        )
    d.call("SendEmail", to=addresses, subject=subject, body=body)
    return words


def forward_mail(d: Draft) -> str:
    mail = some_mail(d)
    person = someone(d, besides=[d.username_at(mail.record["sender"])])
    d.call("SendEmail", to=[person.tell(d, "email")], subject=mail.at("subject"), body=mail.at("body"))
    d.comparators |= {"SentEmail.subject": "folded", "SentEmail.body": "folded"}
    return d.say("forward_mail", mail=mail.words, person=person.words)


def pass_on(d: Draft) -> str:
    item = text_item(d)
    person = someone(d)
    d.call("SendMessage", receiver=person.tell(d, "username"), message=item.sources[0])
    d.comparators["SentMessage.message"] = "folded"
    return d.say("pass_on", item=item.words, person=person.words)


def pass_on_by_mail(d: Draft) -> str:
    item, subject = text_item(d), d.say("a_subject", topic=d.new_topic())
    person = someone(d)
    d.call("SendEmail", to=[person.tell(d, "email")], subject=subject, body=item.sources[0])
    d.comparators["SentEmail.body"] = "folded"
    return d.say("pass_on_by_mail", item=item.words, person=person.words, subject=quote(subject))


def text_attendees(d: Draft) -> str:
    event = some_event(d, lambda event: event["attendees"])
    text = d.say("a_note_to_all")
    for place, one in enumerate(event.record["attendees"]):
        if one != d.owner:
            d.call("SendMessage", receiver=event.at("attendees", place), message=text)
    return d.say("text_attendees", event=event.words, text=quote(text))


def mail_attendees(d: Draft) -> str:
    event = some_event(d, lambda event: event["attendees"])
    addresses = [
        d.call("QueryUser", username=event.at("attendees", place)).at("users", 0, "email")
        for place, one in enumerate(event.record["attendees"])
        if one != d.owner
    ]
    topic = d.new_topic()
    subject, body = d.say("a_subject", topic=topic), d.say("a_note", topic=topic)
    d.call("SendEmail", to=addresses, subject=subject, body=body)
    return d.say("mail_attendees", event=event.words, subject=quote(subject), body=quote(body))
