"""Shows a build to people, without Prefect.

prefect_server.py  starts and finds Prefect's server
run_page.py        makes the tables and the verdict for the page of a run
web.py             serves report and releases over HTTP
aftermath.py       concludes a build: verdict, history, notification
notify.py          runs the user's command when a build needs a person
"""
