"""RQ's worker without a fork for each job, the fastest that it has."""

import sys

from redis import Redis
from rq import Queue, SimpleWorker
from tally import BODY, COUNT, QUEUE, URL, Tally

tally = Tally()


def work(_body):
    tally.add()


if __name__ == "__main__":
    import rq_app  # its name is part of a job's

    connection = Redis.from_url(URL)
    queue = Queue(QUEUE, connection=connection)
    if sys.argv[1:] == ["fill"]:
        for _ in range(COUNT):
            queue.enqueue(rq_app.work, BODY, result_ttl=0)
    else:
        SimpleWorker([queue], connection=connection).work(burst=True, logging_level="ERROR")
