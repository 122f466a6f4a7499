"""Runs cases by kosoku: ADDRESS, then CASE... Prints the verdicts as JSON: of each case, a list of texts."""

import asyncio
import json
import sys

from kosoku import FailureError, run_fuzzingclient

AT_ONCE = 3


async def main(address, cases):
    try:
        results = await run_fuzzingclient(address, cases, None, concurrency=AT_ONCE)
    except FailureError as failure:
        results = failure.results
    verdicts = {
        result.case_id: [result.behavior.value, result.behavior_close.value, result.remote_close_code]
        for result in results
    }
    json.dump(verdicts, sys.stdout)


asyncio.run(main(sys.argv[1], sys.argv[2:]))
