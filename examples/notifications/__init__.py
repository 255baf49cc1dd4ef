"""A notification service: e-mails, texts and pushes, the urgent ones first, each of them once.

    python -m examples.notifications

Read service.py (what the rest of your program calls) and worker.py (what sends). providers.py stands in for
the world outside, evening.py tells the story of one evening, __main__.py runs it. It shows

- priorities: a password reset overtakes thirty digests that were added before it;
- deduplication: three clicks on "send me a code" are one text, five edits within a moment one push;
- delays, and a reminder that is cancelled before it is due;
- quiet retries: the provider for texts refuses first tries, and nobody is told unless the last one fails;
- progress and log lines of a job that takes longer.
"""
