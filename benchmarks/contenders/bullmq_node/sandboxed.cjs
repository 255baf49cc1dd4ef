// The processor of `process_threads`: BullMQ loads it in each of its worker threads.
// A job that says so holds its thread, so that the next job needs another one: the warm-up starts all of them.
module.exports = async (job) => {
  if (job.data.hold_ms) await new Promise((resolve) => setTimeout(resolve, job.data.hold_ms));
};
