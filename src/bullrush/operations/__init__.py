"""What can be asked of a queue, written once: generators that yield requests and know no transport."""
