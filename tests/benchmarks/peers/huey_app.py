"""Huey on Redis; it acks nothing: a task is gone once it is read."""

import sys

if sys.argv[1:] != ["fill"]:
    from gevent import monkey

    monkey.patch_all()

from huey import RedisHuey
from tally import BODY, COUNT, QUEUE, URL, Tally

huey = RedisHuey(QUEUE, url=URL, results=False)
tally = Tally()


@huey.task(name="work")
def work(_body):
    tally.add()


if __name__ == "__main__" and sys.argv[1:] == ["fill"]:
    import huey_app  # its name is part of a task's

    for _ in range(COUNT):
        huey_app.work(BODY)
