"""A billing run: every invoice is charged once, whatever the bank does, and somebody looks at what is left.

    python -m examples.billing

Read producer.py (blocking code: adds the invoices, lists dead jobs, retries them) and worker.py (a program of
its own, whose `def` handler runs in threads) first. bank.py stands in for the world outside, invoices.py
invents the customers, run.py does it all in order, report.py prints and judges. It shows

- `bullrush.sync.Queue` in code without asyncio;
- a `job_id` of your own, so that a run that is started twice charges nobody twice;
- retries with exponential backoff, and an idempotency key for the case that only the answer was lost;
- an error that no retry helps against: a declined card fails at its first attempt;
- dead jobs, listed with their reasons, and `retry_jobs()` once the reason is gone.
"""
