"""A benchmark of one's own in ten lines, asked of a Python function."""

import steelyard as sy

CAPITALS = {"France": "Paris", "Japan": "Tokyo", "Kenya": "Nairobi", "Peru": "Lima"}


def load(selection):
    return [sy.Sample(id=land, input=f"Capital of {land}?", target=city) for land, city in CAPITALS.items()]


def grade(sample, completion):
    return sample.target.lower() in completion.text.lower()


capitals = sy.Benchmark(name="capitals", version="1", load=load, grade=grade)


def my_pipeline(prompt):
    return "I looked it up: Paris." if "France" in prompt else "I do not know."


if __name__ == "__main__":
    run = sy.run(models=[my_pipeline], benchmarks=[capitals])
    print(run.table())
