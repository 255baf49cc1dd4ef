"""A scraper: every page of a web site once, politely, the upper levels first.

    python -m examples.scraper

Read pages.py (what a job is, and why no page has two) and worker.py (fetches one page, adds what it links to)
first. site.py is the web site, on a free port of this machine; crawl.py runs it all, report.py judges by what
the site saw. It shows

- a limit for the whole queue, ten requests a second, however many workers there are (here two);
- a `job_id` made of the URL: a page that fifty others link to is fetched once;
- a priority by depth: the line is a breadth-first search;
- a server that says 429: the job goes back uncharged and the queue holds still, as long as the server asked;
- a `timeout` for each page, with a retry; and a dead link, which no retry helps.
"""
