"""anycap: an asyncio and trio client for captcha-solving services, with one error language for all of them."""
