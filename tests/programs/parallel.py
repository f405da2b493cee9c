"""A Python program with threads and with multiprocessing, to be watched by the tests: parallel.py METHOD."""

import multiprocessing
import subprocess
import sys
import threading


def square(number: int, results: "multiprocessing.queues.SimpleQueue[int]") -> None:
    results.put(number * number)


def main(method: str) -> None:
    threads = [threading.Thread(target=subprocess.check_call, args=(["true"],)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    context = multiprocessing.get_context(method)
    results = context.SimpleQueue()
    processes = [context.Process(target=square, args=(number, results)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print(sorted(results.get() for _ in processes), [process.exitcode for process in processes])


if __name__ == "__main__":
    main(sys.argv[1])
