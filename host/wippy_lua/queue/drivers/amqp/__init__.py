"""RabbitMQ over AMQP 0-9-1: `driver.py` is the seam, the others are its parts."""
