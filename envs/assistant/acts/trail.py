"""The longest chains: from a message to its sender, to the other reader of their latest mail, and so on."""

from __future__ import annotations

from tir_gym.envs.assistant.acts.calendar import meet
from tir_gym.envs.assistant.draft import Draft
from tir_gym.envs.assistant.finders import Person
from tir_gym.envs.writing.draft import Infeasible, quote
from tir_gym.envs.writing.speech import say_list


def trail(d: Draft) -> str:
    """From a message to its sender, to the other reader of their latest mail, to the other reader of theirs, ..."""
    trails = sorted(_trails(d), key=len)
    if not trails:
        raise Infeasible("nobody mailed the owner together with another")
    message, *usernames = d.pick(trails[-3:])
    found = d.call("SearchMessages", query=message)
    if len(found.content["messages"]) != 1:
        raise Infeasible("another message has that word")
    for username in usernames:
        d.take("person", [username])
    people = [Person(usernames[0], "the first person", {"username": found.at("messages", 0, "sender")})]
    d.preface.append(d.say("trail_start", word=quote(message)))
    for username, nth in zip(usernames[1:], ("second", "third", "fourth"), strict=False):
        mails = d.call("SearchInbox", sender=people[-1].tell(d, "email"))
        address = d.account(username)["email"]
        place = mails.content["emails"][0]["receivers"].index(address)
        d.preface.append(d.say("trail_to", person=people[-1].words, nth=nth))
        people.append(Person(username, f"the {nth} person", {"email": mails.at("emails", 0, "receivers", place)}))
    d.people += people
    return d.rng.choice((_text_last, _text_last, _mail_all, _meet_all))(d, people)


def _text_last(d: Draft, people: list[Person]) -> str:
    text = d.say("a_note", topic=d.new_topic())
    d.call("SendMessage", receiver=people[-1].tell(d, "username"), message=text)
    return d.say("text_person", person=people[-1].words, text=quote(text))


def _mail_all(d: Draft, people: list[Person]) -> str:
    topic = d.new_topic()
    subject, body = d.say("a_subject", topic=topic), d.say("a_note", topic=topic)
    d.call("SendEmail", to=[person.tell(d, "email") for person in people], subject=subject, body=body)
    words = say_list([person.words for person in people])
    return d.say("mail_people", people=words, subject=quote(subject), body=quote(body))


def _meet_all(d: Draft, people: list[Person]) -> str:
    return meet(d, people)


def _trails(d: Draft) -> list[tuple[str, ...]]:
    """A word of a message, its sender, and those found on from there: at most four people."""
    own = d.own_address
    latest = {}
    for mail in sorted(d.mine("Email").values(), key=lambda mail: str(mail["date"])):
        latest[mail["sender"]] = mail
    trails = []
    for message in d.mine("Message").values():
        people = [message["sender"]]
        while len(people) < 4:
            mail = latest.get(d.account(people[-1])["email"])
            readers = [one for one in mail["receivers"] if one != own] if mail else []
            if len(readers) != 1 or d.username_at(readers[0]) in people:
                break
            people.append(d.username_at(readers[0]))
        if len(people) > 1:
            trails.append((d.topic_of(message["message"]).split()[0], *people))
    return trails
