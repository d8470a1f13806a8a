"""Dramatiq, on Redis or RabbitMQ."""

import sys

import dramatiq
from tally import BODY, COUNT, QUEUE, URL, Tally

if URL.startswith("redis"):
    from dramatiq.brokers.redis import RedisBroker

    dramatiq.set_broker(RedisBroker(url=URL))
else:
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

    dramatiq.set_broker(RabbitmqBroker(url=URL))

tally = Tally()


@dramatiq.actor(queue_name=QUEUE)
def work(_body):
    tally.add()


if __name__ == "__main__" and sys.argv[1:] == ["fill"]:
    for _ in range(COUNT):
        work.send(BODY)
