"""An e-mail campaign: a CSV file becomes jobs, jobs become messages, the mail server counts what arrives.

Read producer.py and worker.py first: a program of yours would have these two. mail_server.py stands in for
the world outside, campaign.py runs it all, report.py judges.
"""
