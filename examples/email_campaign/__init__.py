"""An e-mail campaign: a CSV file becomes jobs, jobs become messages, and the mail server says what arrived."""
