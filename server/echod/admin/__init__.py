"""What operators and HAProxy ask: metrics, health, how much this daemon wants."""
