"""What a started session serves, by theme. Each part answers its requests and passes on what happens behind the API."""
