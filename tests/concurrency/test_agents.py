"""What replaces functions of AWS's client, where several invocations are in flight; tests/attach has the real ones."""

from __future__ import annotations

import pytest

from tests.concurrency.serving import event, polls, serving


def test_what_is_replaced_in_one_invocation_takes_part_in_the_next_of_every_poller() -> None:
    source = """
        import threading

        together = threading.Barrier(4)

        def attach():
            from awslambdaric import bootstrap
            original, post = bootstrap.handle_event_request, bootstrap.LambdaRuntimeClient.post_invocation_result

            def handle_event_request(client, handler, *args):
                return original(client, lambda event, context: ["around", handler(event, context)], *args)

            def post_invocation_result(self, invoke_id, result, *args):
                post(self, invoke_id, f'["{bootstrap._GLOBAL_AWS_REQUEST_ID}", {result}]', *args)

            bootstrap.handle_event_request = handle_event_request
            bootstrap.LambdaRuntimeClient.post_invocation_result = post_invocation_result

        def handler(event, context):
            if event == "attach":
                return attach()
            together.wait()
            return event
    """
    with serving(source, count=4) as server:
        server.wait_for(lambda: polls(server) == 4)  # all of them wait for an event when it is replaced
        server.api.push(event("attach", "id-attach"))
        server.wait_for(lambda: polls(server) == 5)
        server.api.push(*(event(number, f"id-{number}") for number in range(4)))
        answers = server.answers(5)
        posts = server.posts
    assert answers == {
        "id-attach": ["id-attach", None],
        **{f"id-{number}": [f"id-{number}", ["around", number]] for number in range(4)},
    }
    assert len({post.connection for post in posts[1:]}) == 4


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("thread", "def"), ("hybrid", "def"), ("process", "async def")],
    ids=["thread", "hybrid", "async"],
)
def test_what_init_has_put_around_a_start_of_threads_stays_there(mode: str, kind: str) -> None:
    source = f"""
        import threading
        from concurrent.futures import ThreadPoolExecutor
        import samovar

        start, submit, seen = threading.Thread.start, ThreadPoolExecutor.submit, []

        def counted_start(self):
            if self.name == "mine":
                seen.append(["start", samovar.current().id])
            return start(self)

        def counted_submit(self, *args, **kwargs):
            if samovar.current() is not None:
                seen.append(["submit", samovar.current().id])
            return submit(self, *args, **kwargs)

        threading.Thread.start, ThreadPoolExecutor.submit = counted_start, counted_submit

        {kind} handler(event, context):
            ids = []
            thread = threading.Thread(name="mine", target=lambda: ids.append(samovar.current().id))
            thread.start()
            thread.join()
            with ThreadPoolExecutor(1) as pool:
                ids.append(pool.submit(lambda: samovar.current().id).result())
            return [seen, ids]
    """
    with serving(source, event(1, "id-1"), count=2, env={"AWS_LAMBDA_CONCURRENCY_MODE": mode}) as server:
        assert server.answers(1) == {"id-1": [[["start", "id-1"], ["submit", "id-1"]], ["id-1", "id-1"]]}
