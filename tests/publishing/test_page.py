"""Any page: what stands in it is text or data, never code."""

import json

from loopline.publishing.page import embedded


def test_data_in_a_page_can_end_no_block_and_comes_back_as_it_was():
    content = {"</script><script>": ["<!--", "\u2028", "&amp;"]}

    text = embedded(content)

    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == content
