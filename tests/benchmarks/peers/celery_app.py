"""Celery, on Redis or RabbitMQ, acking late as ours does."""

import sys

from celery import Celery
from tally import BODY, COUNT, QUEUE, URL, Tally

app = Celery("bench", broker=URL)
app.conf.update(
    task_default_queue=QUEUE,
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=100,
    broker_connection_retry_on_startup=True,
)
tally = Tally()


@app.task(name="work")
def work(_body):
    tally.add()


if __name__ == "__main__" and sys.argv[1:] == ["fill"]:
    with app.producer_pool.acquire(block=True) as producer:
        for _ in range(COUNT):
            work.apply_async((BODY,), producer=producer)
