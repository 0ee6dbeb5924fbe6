"""A loaded language model: log-probabilities of given text, and completion of prompts.

Shapes: B sequences, T tokens, V vocabulary.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from infra.models.folders import context_window, fast_bfloat16, load_model, load_tokenizer

MAX_BATCH_TOKENS = 4096
"""Padded tokens in one forward pass; bounds the memory of its activations."""
MIN_PREFIX_TOKENS = 16
"""Tokens that rows must begin with in common before their keys and values are computed apart, once
for all."""
KEPT_PREFIXES = 4
Ids = tuple[int, ...]


@dataclass(frozen=True)
class ContinuationScore:
    """Sum of log-probabilities (nats) of a continuation's tokens given its context."""

    logp: float
    num_tokens: int
    num_context_tokens: int = 0

    @property
    def mean_logp(self) -> float:
        """Log-probability per token; 0 for an empty continuation."""
        return self.logp / max(self.num_tokens, 1)


@dataclass(frozen=True)
class CompletedText:
    """What a model wrote after a prompt. `finished` is False when the length limit cut it off."""

    text: str
    num_tokens: int
    finished: bool
    ids: Ids = ()
    """Its tokens with the one that ended it, where the model is one of ours: text may be cut into
    others again."""


def neutralise(text: str, special_tokens: Sequence[str]) -> str:
    """Untrusted text in which no special token can be read: `<|im_end|>` becomes `< |im_end|>`."""
    for token in special_tokens:
        if token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def special_tokens(tokenizer: Any) -> list[str]:
    """Tokens that untrusted text must not contain."""
    return [str(token) for token in tokenizer.get_added_vocab()]


def start_token(tokenizer: Any) -> int:
    """The first token of a text: the tokenizer's own, or its end token if it has none."""
    start = tokenizer.bos_token_id
    return int(tokenizer.eos_token_id if start is None else start)


def chat_prompt(tokenizer: Any, instruction: str) -> str:
    """A user's turn in the tokenizer's chat template, up to where the answer begins."""
    if not tokenizer.chat_template:
        return f"{instruction}\n\n"
    messages = [{"role": "user", "content": instruction}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def length_batches(lengths: Sequence[int], max_batch_tokens: int) -> Iterator[list[int]]:
    """Indices in batches of similar length, longest first, each at most `max_batch_tokens` when
    padded.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batch: list[int] = []
    for index in order:
        longest = lengths[batch[0]] if batch else lengths[index]
        if batch and longest * (len(batch) + 1) > max_batch_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def shared_prefix(rows: Sequence[list[int]]) -> Ids:
    """The tokens that all rows begin with, leaving each at least one token of its own."""
    first, last = min(rows), max(rows)
    limit = min(len(row) for row in rows) - 1
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), limit)
    return tuple(first[: max(0, min(length, limit))])


def prefix_groups(rows: Sequence[list[int]]) -> list[tuple[Ids, list[int]]]:
    """(shared prefix, indices) of rows that begin alike; rows that share with nobody come with an
    empty prefix.
    """
    heads: dict[Ids, list[int]] = {}
    for i, row in enumerate(rows):
        heads.setdefault(tuple(row[:MIN_PREFIX_TOKENS]), []).append(i)
    groups, alone = [], []
    for members in heads.values():
        prefix = shared_prefix([rows[i] for i in members]) if len(members) > 1 else ()
        if len(prefix) < MIN_PREFIX_TOKENS:
            alone += members
        else:
            groups.append((prefix, members))
    return [*groups, ((), alone)] if alone else groups


TokenPair = tuple[list[int], list[int]]
"""Token ids of a context and of its continuation."""


def _forward_rows(requests: Sequence[TokenPair]) -> list[TokenPair]:
    """Return the rows of the forward passes that answer all requests.

    A request for several tokens is a row. Requests for one token after the same context share a row
    without a continuation, whose result is the distribution of the next token.
    """
    contexts = dict.fromkeys(tuple(before) for before, after in requests if len(after) == 1)
    rows = [(before, after) for before, after in requests if len(after) != 1]
    return rows + [(list(before), []) for before in contexts]


def _forward_batches(rows: Sequence[TokenPair]) -> Iterator[tuple[Ids, list[int]]]:
    """Return (prefix shared by the contexts, indices of rows) for each forward pass."""
    for prefix, members in prefix_groups([before for before, _ in rows]):
        lengths = [len(rows[i][0]) + len(rows[i][1]) for i in members]
        for batch in length_batches(lengths, MAX_BATCH_TOKENS):
            yield prefix, [members[k] for k in batch]


class LanguageModel:
    """Model and tokenizer of one folder, on the GPU where there is one.

    With `exact` in float32; else in bfloat16 where the machine is fast at it, which is good enough
    to label and to complete, but not to decide.
    """

    def __init__(self, folder: Path, key: str = "model", exact: bool = False) -> None:
        self.tokenizer = load_tokenizer(folder, key)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = "float32" if exact or not fast_bfloat16() else "bfloat16"
        self.model = load_model(folder, key, dtype).to(self.device)
        self.max_tokens = context_window(self.model.config)
        self._prefixes: dict[Ids, Any] = {}

    @property
    def special_tokens(self) -> list[str]:
        """Tokens that untrusted text must not contain."""
        return special_tokens(self.tokenizer)

    def neutralise(self, text: str) -> str:
        """`neutralise` with this model's special tokens."""
        return neutralise(text, self.special_tokens)

    def chat_prompt(self, instruction: str) -> str:
        """`chat_prompt` in this model's template."""
        return chat_prompt(self.tokenizer, instruction)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, nothing added."""
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    @torch.inference_mode()
    def score(
        self, pairs: Sequence[tuple[str, str]], report: Callable[[float], None] | None = None
    ) -> list[ContinuationScore]:
        """Log-probability of each continuation given its context, in the order given.

        Context and continuation are tokenised apart, so a continuation costs the same tokens after
        every context. An empty context is the start token. Text beyond the model's window is cut
        off on the left of the context, then on the right of the continuation. What contexts begin
        with in common is computed once, and its keys and values serve every row and every later
        call.
        """
        return self.score_ids([self._tokenise_pair(*pair) for pair in pairs], report)

    @torch.inference_mode()
    def score_ids(
        self,
        tokens: Sequence[TokenPair],
        report: Callable[[float], None] | None = None,
    ) -> list[ContinuationScore]:
        """Return the score of each (context, continuation), given as token ids.

        Both together must fit into the model's window.
        """
        rows = _forward_rows(tokens)
        totals: dict[tuple[Ids, Ids], float] = {}
        next_tokens: dict[Ids, torch.Tensor] = {}
        for prefix, indices in _forward_batches(rows):
            chosen = [rows[i] for i in indices]
            for (before, after), logps in zip(
                chosen, self._score_batch(chosen, prefix), strict=True
            ):
                if after:
                    totals[tuple(before), tuple(after)] = float(logps.sum())
                else:
                    next_tokens[tuple(before)] = logps
            if report:
                report(len(indices))
        results = []
        for before, after in tokens:
            logp = 0.0
            if len(after) == 1:
                logp = float(next_tokens[tuple(before)][after[0]])
            elif after:
                logp = totals[tuple(before), tuple(after)]
            results.append(ContinuationScore(logp, len(after), len(before)))
        return results

    def _tokenise_pair(self, context: str, continuation: str) -> TokenPair:
        after = self.encode(continuation)[: self.max_tokens - 1]
        before = (self.encode(context) or [start_token(self.tokenizer)])[
            -(self.max_tokens - len(after)) :
        ]
        return before, after

    def _prefix_cache(self, prefix: Ids) -> tuple[int, Any]:
        """(length, keys and values) of a prefix or of most of it; (0, None) where the model keeps
        no plain ones.
        """
        for known in self._prefixes:
            if len(known) > len(prefix) - MIN_PREFIX_TOKENS and prefix[: len(known)] == known:
                self._prefixes[known] = self._prefixes.pop(known)  # the last used comes last
                return len(known), self._prefixes[known]
        ids_1P = torch.tensor([prefix], device=self.device)
        cache = self.model.get_decoder()(input_ids=ids_1P, use_cache=True).past_key_values
        if type(cache) is not DynamicCache or any(
            type(layer) is not DynamicLayer for layer in cache.layers
        ):
            return 0, None
        self._prefixes[prefix] = cache
        while len(self._prefixes) > KEPT_PREFIXES:
            self._prefixes.pop(next(iter(self._prefixes)))
        return len(prefix), cache

    def _score_batch(self, rows: list[TokenPair], prefix: Ids) -> list[torch.Tensor]:
        """Log-probabilities of each row's second part, [T]; where that is empty, of every next
        token, [V].

        Rows are padded on the right; all begin with `prefix`, whose P tokens are not computed
        again.
        """
        skipped, kept = self._prefix_cache(prefix) if prefix else (0, None)
        width = max(len(before) + len(after) for before, after in rows) - skipped
        pad = self.tokenizer.pad_token_id
        joined = [(before + after)[skipped:] for before, after in rows]
        ids_BT = torch.tensor(
            [ids + [pad] * (width - len(ids)) for ids in joined], device=self.device
        )
        mask_BP = [[1] * (skipped + len(ids)) + [0] * (width - len(ids)) for ids in joined]
        options: dict[str, Any] = {
            "attention_mask": torch.tensor(mask_BP, device=self.device),
            "use_cache": kept is not None,
        }
        if kept is not None:
            options["past_key_values"] = copy.deepcopy(kept)
            options["past_key_values"].batch_repeat_interleave(len(rows))
        hidden_BTH = self.model.get_decoder()(input_ids=ids_BT, **options).last_hidden_state
        head = self.model.get_output_embeddings()
        results = []
        for row, (before, after) in enumerate(rows):
            start = len(before) - skipped
            last = start + max(len(after), 1) - 1
            logps_TV = head(hidden_BTH[row, start - 1 : last]).float().log_softmax(-1)
            if after:
                targets_T1 = torch.tensor(after, device=self.device).unsqueeze(1)
                results.append(logps_TV.gather(1, targets_T1).squeeze(1))
            else:
                results.append(logps_TV[0])
        return results

    def bits_per_byte(self, texts: Sequence[str], contexts: Sequence[str] = ()) -> list[float]:
        """Bits that each byte of a text (in UTF-8, what the window holds of it) costs this model
        after its context, or at the start of a text; nan for none.
        """
        shown = [self.held(text) for text in texts]
        scores = self.score(list(zip(contexts or [""] * len(texts), shown, strict=True)))
        sizes = [len(text.encode()) for text in shown]
        return [
            -s.logp / math.log(2) / n if n else math.nan for s, n in zip(scores, sizes, strict=True)
        ]

    def held(self, text: str) -> str:
        """The beginning of a text that the window holds; the text itself if it fits."""
        ids = self.encode(text)
        most = self.max_tokens - 1
        return text if len(ids) <= most else str(self.tokenizer.decode(ids[:most]))

    def prompt_ids(self, prompt: str, max_new_tokens: int) -> list[int]:
        """Token ids of a prompt, cut off on the left where so many new ones would not fit the
        window.
        """
        return self.encode(prompt)[-(self.max_tokens - max_new_tokens) :]

    @torch.inference_mode()
    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        """One completion a prompt; temperature 0 takes the likeliest token. Repeats exactly for a
        seed.
        """
        results: list[CompletedText | None] = [None] * len(prompts)
        rows = [self.prompt_ids(prompt, max_new_tokens) for prompt in prompts]
        generator_state = torch.random.get_rng_state()
        torch.manual_seed(seed)
        try:
            for batch in length_batches(
                [len(ids) + max_new_tokens for ids in rows], MAX_BATCH_TOKENS
            ):
                texts = self._complete_batch([rows[i] for i in batch], max_new_tokens, temperature)
                for index, text in zip(batch, texts, strict=True):
                    results[index] = text
        finally:
            torch.random.set_rng_state(generator_state)
        return [text for text in results if text is not None]

    def _complete_batch(
        self, rows: list[list[int]], max_new_tokens: int, temperature: float
    ) -> list[CompletedText]:
        width = max(len(ids) for ids in rows)
        pad, end = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        ids_BT = torch.tensor(
            [[pad] * (width - len(ids)) + ids for ids in rows], device=self.device
        )
        mask_BT = torch.tensor(
            [[0] * (width - len(ids)) + [1] * len(ids) for ids in rows], device=self.device
        )
        options: dict[str, Any] = {"do_sample": temperature > 0}
        if temperature > 0:
            options |= {"temperature": temperature, "top_p": 1.0, "top_k": 0}
        output_BT = self.model.generate(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            max_new_tokens=max_new_tokens,
            pad_token_id=pad,
            eos_token_id=end,
            **options,
        )
        completed = []
        for new_ids in output_BT[:, width:].tolist():
            finished = end in new_ids
            kept = new_ids[: new_ids.index(end)] if finished else new_ids
            text = self.tokenizer.decode(kept, skip_special_tokens=True)
            ids = (*kept, end) if finished else tuple(kept)
            completed.append(CompletedText(text, len(ids), finished, ids))
        return completed
