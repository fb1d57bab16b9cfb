"""What people see of a build, without Prefect: server, verdict, report over HTTP, notification."""
