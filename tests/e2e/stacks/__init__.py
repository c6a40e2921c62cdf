"""The five hand-written stacks, and what each README lists."""

from __future__ import annotations

from tests.e2e.stacks.call_coach import CALL_COACH
from tests.e2e.stacks.ga4_analytics import GA4
from tests.e2e.stacks.health_agent import HEALTH_AGENT
from tests.e2e.stacks.items import Stack
from tests.e2e.stacks.shadower_analytics import SHADOWER
from tests.e2e.stacks.voice_kraliki import VOICE

STACKS = (CALL_COACH, HEALTH_AGENT, SHADOWER, VOICE, GA4)

__all__ = ["HEALTH_AGENT", "STACKS", "Stack"]
