"""A provider of one's own in fifteen lines: it yields pieces of text, and Steelyard stamps the clock."""

import asyncio

import steelyard as sy


class Parrot:
    """Repeats the question, a word at a time."""

    name = "parrot"
    origin = "parrot/1"  # who answers: part of every call's digest
    streams = True  # pieces arrive one by one, so TTFT and ITL mean something
    concurrency = 8

    async def generate(self, request):
        words = request.prompt.messages[-1].content.split()
        for word in words:
            await asyncio.sleep(0.001)
            yield sy.Text(word + " ")
        yield sy.Done(stop_reason="stop", usage=sy.Usage(output_tokens=len(words), source="tokenizer"))


if __name__ == "__main__":
    run = sy.run(models=[Parrot()], benchmarks=["starter:symbolic"], limit=50)
    print(run.table())
