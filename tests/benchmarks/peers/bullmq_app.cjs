// BullMQ on Redis: `npm install bullmq ioredis` here, in a folder above, or in one of NODE_PATH.

const { renameSync, writeFileSync } = require("node:fs");
const { Queue, Worker } = require("bullmq");

const { BENCH_URL, BENCH_QUEUE, BENCH_COUNT, BENCH_RESULT } = process.env;
const count = Number(BENCH_COUNT);
const { hostname, port } = new URL(BENCH_URL);
const connection = { host: hostname, port: Number(port), maxRetriesPerRequest: null };
const data = { id: 1, action: "process", user: "someone@example.org", data: "0123456789abcdef" };

async function fill() {
  const queue = new Queue(BENCH_QUEUE, { connection });
  for (let left = count; left > 0; left -= 1000) {
    const size = Math.min(left, 1000);
    await queue.addBulk(
      Array.from({ length: size }, () => ({ name: "work", data, opts: { removeOnComplete: true } })),
    );
  }
  await queue.close();
}

function work() {
  let done = 0;
  let first;
  new Worker(
    BENCH_QUEUE,
    async () => {
      done += 1;
      first ??= process.hrtime.bigint();
      if (done === count) {
        const seconds = Number(process.hrtime.bigint() - first) / 1e9;
        writeFileSync(`${BENCH_RESULT}.part`, JSON.stringify({ seconds }));
        renameSync(`${BENCH_RESULT}.part`, BENCH_RESULT);
      }
    },
    { connection, concurrency: 100 },
  );
}

if (process.argv[2] === "fill") {
  fill();
} else {
  work();
}
